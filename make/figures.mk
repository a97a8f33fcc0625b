# The goals a reader of the paper uses; make/help.txt lists them.

EXPERIMENT_FILES = $(sort $(wildcard $(srcdir)/experiments/fig*.exp))
FIGURE_FLAGS = $(if $(TIER),--tier='$(TIER)') $(if $(JOBS),--jobs='$(JOBS)') \
  $(if $(data_dir),--data='$(data_dir)') $(if $(STORE),--store='$(STORE)') \
  $(if $(FIGURES),--output='$(FIGURES)') --style='$(srcdir)/figures/style.gp'
# automake has a DATA of its own; only one from the command line is meant.
data_dir = $(if $(filter command,$(firstword $(origin DATA))),$(DATA))
figures_dir = $(or $(FIGURES),figures)
store_dir = $(or $(STORE),store)
report_file = $(or $(REPORT),report.html)
# What a run is held against, and where make record-reference writes.
reference_dir = $(or $(REFERENCE),$(srcdir)/reference/$(or $(TIER),small))
archive = $(or $(ARCHIVE),mergescape-results.tar.gz)
# Of a checkout; a packed release knows its version only.
commit = $(shell git -C '$(srcdir)' describe --always --dirty 2> /dev/null)
numbered = [0-9][0-9]

.PHONY: figures claims compare record-reference export explain status verify paper paper-packages report help clean-figures clean-paper clean-report clean-store always

# mergescape itself knows what is up to date.
figures: mergescape$(EXEEXT)
	@./mergescape$(EXEEXT) figures $(FIGURE_FLAGS) $(EXPERIMENT_FILES)

figure-%: mergescape$(EXEEXT) always
	@./mergescape$(EXEEXT) figures --figure=$* $(FIGURE_FLAGS) $(EXPERIMENT_FILES)

# A claim that fails is a result: make says so and ends with an error.
claims: mergescape$(EXEEXT)
	@./mergescape$(EXEEXT) claims $(FIGURE_FLAGS) $(EXPERIMENT_FILES)

# TeX is large, and installed only when it is asked for.
PAPER_PACKAGES = latexmk texlive-latex-base texlive-latex-recommended lmodern
paper-packages:
	@test '$(PACKAGES)' = no || command -v latexmk > /dev/null || sh '$(srcdir)/make/packages.sh' $(PAPER_PACKAGES)

paper: mergescape$(EXEEXT) paper-packages
	@$(MKDIR_P) paper
	@./mergescape$(EXEEXT) weave $(FIGURE_FLAGS) --paper=paper/generated $(EXPERIMENT_FILES)
	@cd paper && TEXINPUTS='.:$(abs_srcdir)/paper:' BIBINPUTS='.:$(abs_srcdir)/paper:' latexmk -pdf \
	  -silent -interaction=nonstopmode -halt-on-error -jobname=mergescape '$(abs_srcdir)/paper/paper.tex' \
	  > mergescape.out.txt 2>&1 || { tail -n 40 mergescape.out.txt; exit 1; }
	@echo paper/mergescape.pdf

report: mergescape$(EXEEXT)
	@./mergescape$(EXEEXT) report $(FIGURE_FLAGS) --report='$(report_file)' $(EXPERIMENT_FILES)

status: mergescape$(EXEEXT)
	@./mergescape$(EXEEXT) status $(FIGURE_FLAGS) $(EXPERIMENT_FILES)

# Draws and judges what is not up to date, then says what differs.
compare: mergescape$(EXEEXT)
	@test -d '$(reference_dir)' || { echo 'no reference is recorded in $(reference_dir)'; exit 2; }
	@./mergescape$(EXEEXT) figures $(FIGURE_FLAGS) $(EXPERIMENT_FILES) > /dev/null
	@./mergescape$(EXEEXT) claims $(FIGURE_FLAGS) $(EXPERIMENT_FILES) > /dev/null || test $$? -eq 1
	@./mergescape$(EXEEXT) diff-results '$(reference_dir)' '$(figures_dir)'

record-reference: mergescape$(EXEEXT)
	@./mergescape$(EXEEXT) record $(FIGURE_FLAGS) --reference='$(reference_dir)' \
	  --commit='$(commit)' $(EXPERIMENT_FILES)

# The program's source as the commit has it, where there is one.
export: mergescape$(EXEEXT)
	@source=; if git -C '$(srcdir)' archive --format=tar.gz --prefix=mergescape/ -o \
	  "$$PWD/export-source.tar.gz" HEAD 2> /dev/null; then source=--source=export-source.tar.gz; fi; \
	./mergescape$(EXEEXT) export $(FIGURE_FLAGS) --archive='$(archive)' --commit='$(commit)' \
	  $$source $(if $(MODELS),--models) $(EXPERIMENT_FILES); status=$$?; \
	rm -f export-source.tar.gz; exit $$status

# SAMPLE=100% for all; a result that differs ends it with an error.
verify: mergescape$(EXEEXT)
	@./mergescape$(EXEEXT) verify $(FIGURE_FLAGS) $(if $(SAMPLE),--sample='$(SAMPLE)') \
	  $(if $(SEED),--seed='$(SEED)') $(EXPERIMENT_FILES)

explain: mergescape$(EXEEXT)
	@./mergescape$(EXEEXT) explain $(FIGURE_FLAGS) $(EXPERIMENT_FILES)

help:
	@cat '$(srcdir)/make/help.txt'

clean-figures:
	rm -f '$(figures_dir)'/fig$(numbered).csv '$(figures_dir)'/fig$(numbered).gp \
	  '$(figures_dir)'/fig$(numbered).json '$(figures_dir)'/fig$(numbered).pdf \
	  '$(figures_dir)'/fig$(numbered).svg '$(figures_dir)'/claims.csv

clean-paper:
	rm -rf paper/generated
	rm -f paper/mergescape.*

clean-report:
	rm -f '$(report_file)'

# Only what the store keeps there: STORE may name a folder that holds more.
clean-store:
	rm -rf '$(store_dir)/objects' '$(store_dir)/tmp' '$(store_dir)/damaged' '$(store_dir)/runs' \
	  '$(store_dir)/failed'

nobase_dist_pkgdata_DATA = \
  experiments/common/convnext.exp \
  experiments/common/datasets.exp \
  experiments/common/failing.exp \
  experiments/common/fmow.exp \
  experiments/common/landscape.exp \
  experiments/common/language.exp \
  experiments/common/sweeps.exp \
  experiments/common/tasks.exp \
  experiments/common/transfer.exp \
  experiments/common/vision.exp \
  experiments/fig01-noise.exp \
  experiments/fig02-learning-rate.exp \
  experiments/fig03-weight-decay.exp \
  experiments/fig04-batch-momentum-augmentation.exp \
  experiments/fig05-language.exp \
  experiments/fig06-transfer.exp \
  experiments/fig07-task-arithmetic.exp \
  experiments/fig08-two-tasks.exp \
  experiments/fig09-rebasin.exp \
  experiments/fig10-cifar10.exp \
  experiments/fig11-augmentation.exp \
  experiments/fig12-transfer-others.exp \
  experiments/fig13-language-loss.exp \
  experiments/fig14-noise-tinyimagenet.exp \
  experiments/fig15-training-loss.exp \
  experiments/fig16-too-large-lr.exp \
  experiments/fig17-too-large-weight-decay.exp \
  experiments/fig18-task-arithmetic-others.exp \
  experiments/fig19-task-arithmetic-weight-decay.exp \
  experiments/fig20-task-arithmetic-language.exp \
  experiments/fig21-task-arithmetic-fmow.exp \
  experiments/fig22-task-arithmetic-resisc45.exp \
  experiments/fig23-two-tasks-by-alpha.exp \
  experiments/fig24-two-tasks-ties-by-alpha.exp \
  experiments/fig25-two-tasks-fmow.exp \
  experiments/fig26-two-tasks-resisc45.exp \
  experiments/fig27-two-tasks-best-alpha.exp \
  experiments/fig28-alignment-language.exp \
  experiments/fig29-transition.exp \
  experiments/fig30-slices.exp \
  experiments/fig31-flatness.exp \
  experiments/fig32-landscape-noise.exp \
  experiments/fig33-schedulers.exp \
  experiments/fig34-optimizer.exp \
  experiments/fig35-three-tasks.exp \
  experiments/fig36-swa.exp \
  experiments/tiers/cifar10.exp \
  experiments/tiers/paper.exp \
  experiments/tiers/small.exp \
  experiments/tiers/smoke.exp
dist_pkgdata_DATA = figures/style.gp
EXTRA_DIST += make/help.txt make/packages.sh paper/paper.bib paper/paper.tex
EXTRA_DIST += $(wildcard $(srcdir)/docs/*.*) $(wildcard $(srcdir)/reference/*/*.*)
DISTCLEANFILES = .bootstrap
