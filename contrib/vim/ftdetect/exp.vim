" Experiments of mergescape.  Vim takes *.exp for Expect scripts: this wins where
" the first lines look like an experiment file.
autocmd BufRead,BufNewFile *.exp call s:detect()

function! s:detect() abort
  for line in getline(1, 50)
    if line =~# '^\s*\(##\|include\s\+"\|experiment\s\|figure\s\+\d\|tier\s\|claim\s\)'
      set filetype=mergescape
      return
    endif
  endfor
endfunction
