" :make checks the file; gq and = lay it out.
if exists('b:did_ftplugin')
  finish
endif
let b:did_ftplugin = 1
setlocal commentstring=#\ %s comments=b:##,b:# shiftwidth=2 softtabstop=2 expandtab
setlocal equalprg=mergescape\ fmt\ -
setlocal makeprg=mergescape\ check\ %:S errorformat=%f:%l:%c:\ %trror:\ %m,%f:%l:%c:\ %tarning:\ %m
let b:undo_ftplugin = 'setlocal commentstring< comments< shiftwidth< softtabstop< expandtab< equalprg< makeprg< errorformat<'
