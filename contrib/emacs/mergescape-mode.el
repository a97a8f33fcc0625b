;;; mergescape-mode.el --- Experiment files of mergescape  -*- lexical-binding: t -*-

;; Keywords: languages
;; Package-Requires: ((emacs "26.1"))

;;; Commentary:

;; (add-to-list 'load-path "/folder/of/this/file")
;; (require 'mergescape-mode)
;;
;; C-c C-f lays the buffer out (mergescape fmt), C-c C-c checks the file.

;;; Code:

(require 'compile)

;; generated: emacs
(defconst mergescape--keywords
  '("at"
    "branch"
    "every"
    "expect"
    "for"
    "let"
    "measure"
    "merge"
    "of"
    "on"
    "over"
    "replace"
    "sweep"
    "trunk"
    "use"
    "where"
    "with"))
(defconst mergescape--blocks
  '("claim"
    "experiment"
    "figure"
    "include"
    "panel"
    "tier"))
(defconst mergescape--operators
  '("and"
    "by"
    "not"
    "or"))
(defconst mergescape--names
  '("data"
    "model"
    "optimizer"
    "lr"
    "momentum"
    "weight_decay"
    "batch"
    "augment"
    "crop_padding"
    "start"
    "head"
    "head_seed"
    "seed"
    "alpha"
    "size"
    "compose"
    "labels"
    "transform"
    "shift"
    "block"
    "tokenizer"
    "train"
    "test"
    "width"
    "layers"
    "stages"
    "blocks"
    "stem"
    "growth"
    "heads"
    "hidden"
    "activation"
    "patch"
    "decay"
    "beta1"
    "beta2"
    "epsilon"
    "warmup"
    "weights"
    "base"
    "scale"
    "keep"
    "scope"
    "aggregate"
    "drop"
    "samples"
    "expectation"
    "floor"
    "normalize"
    "convolutions"
    "last"
    "x"
    "y"
    "passes"
    "importance"
    "marginals"
    "order"
    "to"
    "symmetries"
    "restarts"
    "epochs"
    "points"
    "definition"
    "batchnorm"
    "products"
    "probes"
    "radius"
    "directions"
    "z"
    "series"
    "opacity"
    "columns"
    "units"
    "tolerance"
    "tiers"
    "snapshots"
    "checkpoint"
    "log"
    "band"
    "bars"
    "fit"
    "label"
    "quartiles"
    "deciles"
    "range"
    "sd"
    "se"))
(defconst mergescape--functions
  '("log10"
    "exp"
    "sqrt"
    "abs"
    "mean"
    "median"
    "min"
    "max"
    "quantile"
    "pearson"
    "spearman"
    "partial"
    "trend"
    "interior_peak"
    "argmax"
    "first"
    "spread"
    "among"
    "linspace"
    "logspace"
    "pairs"
    "file"
    "accuracy"
    "loss"
    "normalized_accuracy"
    "barrier"
    "cka"
    "disagreement"
    "sharpness"
    "hessian_trace"
    "average_sharpness"
    "gradient_noise"
    "tail_index"
    "distance"
    "cosine"
    "norm"
    "invariant_norm"))
(defconst mergescape--values
  '("fashion_mnist"
    "mnist"
    "cifar10"
    "cifar100"
    "svhn"
    "tinyimagenet"
    "imagenet"
    "fmow"
    "resisc45"
    "tinystories"
    "wikitext103"
    "king_james"
    "mlp"
    "resnet18"
    "densenet121"
    "gpt"
    "vit_s_16"
    "vit_b_16"
    "clip_vit_b_16"
    "convnext_tiny"
    "sgd"
    "adamw"
    "constant"
    "sqrt_decay"
    "linear_decay"
    "warmup_constant"
    "warmup_cosine"
    "continued"
    "linear"
    "slerp"
    "task_arithmetic"
    "ties"
    "dare"
    "fisher"
    "regmean"
    "swa"
    "plane"
    "ot_fusion"
    "intra_fusion"
    "weight_matching"
    "activation_matching"
    "learned_matching"
    "ood"
    "lines"
    "scatter"
    "box"
    "heatmap"
    "contour"
    "none"
    "flip_crop"
    "kept"
    "new"
    "bytes"
    "gpt2"
    "cifar"
    "gelu"
    "quick_gelu"
    "relu"
    "all"
    "tensor"
    "sum"
    "permutations"
    "general"
    "both"
    "second"
    "turned"
    "inverted"
    "noise"
    "contrast"
    "moved"
    "recalibrated"
    "averaged"
    "line"
    "exact"
    "sampled"
    "empirical"
    "unfolded"
    "l1"
    "l2"
    "taylor"
    "uniform"
    "together"
    "sequential"
    "no"
    "length"
    "scratch"
    "end"
    "rest"))
;; end of emacs

(defvar mergescape-mode-syntax-table
  (let ((table (make-syntax-table)))
    (modify-syntax-entry ?# "<" table)
    (modify-syntax-entry ?\n ">" table)
    (modify-syntax-entry ?\" "\"" table)
    (modify-syntax-entry ?\\ "\\" table)
    (modify-syntax-entry ?_ "w" table)
    table))

(defconst mergescape--font-lock
  `(("^[ \t]*##\\(?:[^#\n].*\\)?$" 0 font-lock-doc-face t)
    ("@[A-Za-z_]+" . font-lock-preprocessor-face)
    (,(regexp-opt mergescape--blocks 'words) . font-lock-keyword-face)
    (,(regexp-opt mergescape--keywords 'words) . font-lock-keyword-face)
    (,(regexp-opt mergescape--operators 'words) . font-lock-builtin-face)
    (,(regexp-opt mergescape--names 'words) . font-lock-variable-name-face)
    (,(regexp-opt mergescape--functions 'words) . font-lock-function-name-face)
    (,(regexp-opt mergescape--values 'words) . font-lock-constant-face)
    ("\\_<\\(?:epoch\\|step\\)s?\\_>" . font-lock-type-face)))

(defun mergescape-format-buffer ()
  "Lay the buffer out with `mergescape fmt'; leave it alone if it has mistakes."
  (interactive)
  (let ((errors (make-temp-file "mergescape"))
        (from (current-buffer)))
    (unwind-protect
        (with-temp-buffer
          (let ((to (current-buffer)))
            (if (with-current-buffer from
                  (eq 0 (call-process-region nil nil "mergescape" nil (list to errors) nil
                                             "fmt" "-")))
                (with-current-buffer from (replace-buffer-contents to))
              (insert-file-contents errors nil nil nil t)
              (message "%s" (buffer-string)))))
      (delete-file errors))))

(defun mergescape-check ()
  "Check the file with `mergescape check'."
  (interactive)
  (save-buffer)
  (compile (concat "mergescape check " (shell-quote-argument buffer-file-name))))

(defvar mergescape-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "C-c C-f") #'mergescape-format-buffer)
    (define-key map (kbd "C-c C-c") #'mergescape-check)
    map))

;;;###autoload
(define-derived-mode mergescape-mode prog-mode "Mergescape"
  "Major mode for experiment files of mergescape."
  (setq-local comment-start "# ")
  (setq-local comment-start-skip "#+ *")
  (setq-local tab-width 2)
  (setq-local indent-tabs-mode nil)
  (setq-local font-lock-defaults '(mergescape--font-lock)))

;;;###autoload
(add-to-list 'auto-mode-alist '("\\.exp\\'" . mergescape-mode))

(provide 'mergescape-mode)
;;; mergescape-mode.el ends here
