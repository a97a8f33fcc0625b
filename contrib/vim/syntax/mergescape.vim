" Syntax of mergescape's experiment files.
if exists('b:current_syntax')
  finish
endif
let s:cpo = &cpo
set cpo&vim
syn case match

" generated: vim
syn keyword expKeyword
  \ at
  \ branch
  \ every
  \ expect
  \ for
  \ let
  \ measure
  \ merge
  \ of
  \ on
  \ over
  \ replace
  \ sweep
  \ trunk
  \ use
  \ where
  \ with
syn keyword expBlock
  \ claim
  \ experiment
  \ figure
  \ include
  \ panel
  \ tier
syn keyword expOperator
  \ and
  \ by
  \ not
  \ or
syn keyword expName
  \ data
  \ model
  \ optimizer
  \ lr
  \ momentum
  \ weight_decay
  \ batch
  \ augment
  \ crop_padding
  \ start
  \ head
  \ head_seed
  \ seed
  \ alpha
  \ size
  \ compose
  \ labels
  \ transform
  \ shift
  \ block
  \ tokenizer
  \ train
  \ test
  \ width
  \ layers
  \ stages
  \ blocks
  \ stem
  \ growth
  \ heads
  \ hidden
  \ activation
  \ patch
  \ decay
  \ beta1
  \ beta2
  \ epsilon
  \ warmup
  \ weights
  \ base
  \ scale
  \ keep
  \ scope
  \ aggregate
  \ drop
  \ samples
  \ expectation
  \ floor
  \ normalize
  \ convolutions
  \ last
  \ x
  \ y
  \ passes
  \ importance
  \ marginals
  \ order
  \ to
  \ symmetries
  \ restarts
  \ epochs
  \ points
  \ definition
  \ batchnorm
  \ products
  \ probes
  \ radius
  \ directions
  \ z
  \ series
  \ opacity
  \ columns
  \ units
  \ tolerance
  \ tiers
  \ snapshots
  \ checkpoint
  \ log
  \ band
  \ bars
  \ fit
  \ label
  \ quartiles
  \ deciles
  \ range
  \ sd
  \ se
syn keyword expFunction
  \ log10
  \ exp
  \ sqrt
  \ abs
  \ mean
  \ median
  \ min
  \ max
  \ quantile
  \ pearson
  \ spearman
  \ partial
  \ trend
  \ interior_peak
  \ argmax
  \ first
  \ spread
  \ among
  \ linspace
  \ logspace
  \ pairs
  \ file
  \ accuracy
  \ loss
  \ normalized_accuracy
  \ barrier
  \ cka
  \ disagreement
  \ sharpness
  \ hessian_trace
  \ average_sharpness
  \ gradient_noise
  \ tail_index
  \ distance
  \ cosine
  \ norm
  \ invariant_norm
syn keyword expValue
  \ fashion_mnist
  \ mnist
  \ cifar10
  \ cifar100
  \ svhn
  \ tinyimagenet
  \ imagenet
  \ fmow
  \ resisc45
  \ tinystories
  \ wikitext103
  \ king_james
  \ mlp
  \ resnet18
  \ densenet121
  \ gpt
  \ vit_s_16
  \ vit_b_16
  \ clip_vit_b_16
  \ convnext_tiny
  \ sgd
  \ adamw
  \ constant
  \ sqrt_decay
  \ linear_decay
  \ warmup_constant
  \ warmup_cosine
  \ continued
  \ linear
  \ slerp
  \ task_arithmetic
  \ ties
  \ dare
  \ fisher
  \ regmean
  \ swa
  \ plane
  \ ot_fusion
  \ intra_fusion
  \ weight_matching
  \ activation_matching
  \ learned_matching
  \ ood
  \ lines
  \ scatter
  \ box
  \ heatmap
  \ contour
  \ none
  \ flip_crop
  \ kept
  \ new
  \ bytes
  \ gpt2
  \ cifar
  \ gelu
  \ quick_gelu
  \ relu
  \ all
  \ tensor
  \ sum
  \ permutations
  \ general
  \ both
  \ second
  \ turned
  \ inverted
  \ noise
  \ contrast
  \ moved
  \ recalibrated
  \ averaged
  \ line
  \ exact
  \ sampled
  \ empirical
  \ unfolded
  \ l1
  \ l2
  \ taylor
  \ uniform
  \ together
  \ sequential
  \ no
  \ length
  \ scratch
  \ end
  \ rest
" end of vim

syn match expNumber /\v<\d+(\.\d*)?([eE][-+]?\d+|[kM])?>/
syn match expNumber /\v\.\d+([eE][-+]?\d+|[kM])?>/
syn match expUnit /\v<(epoch|step)s?>/
syn match expEscape /\\[n"\\]/ contained
syn region expString start=/"/ skip=/\\./ end=/"/ oneline contains=expEscape
syn match expNote /@\h\w*/
syn match expComment /#.*$/ contains=expTodo,@Spell
syn match expProse /^\s*##\%([^#].*\)\=$/ contains=expResult,@Spell
syn match expResult /\\\h\+/ contained
syn keyword expTodo TODO FIXME XXX contained

hi def link expKeyword Statement
hi def link expBlock Structure
hi def link expOperator Operator
hi def link expName Identifier
hi def link expFunction Function
hi def link expValue Constant
hi def link expNumber Number
hi def link expUnit Type
hi def link expString String
hi def link expEscape SpecialChar
hi def link expNote PreProc
hi def link expComment Comment
hi def link expProse SpecialComment
hi def link expResult Special
hi def link expTodo Todo

let &cpo = s:cpo
unlet s:cpo
let b:current_syntax = 'mergescape'
