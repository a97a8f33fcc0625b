# The scanner cannot be called exp.l: its output would be exp.c, as the grammar's.
AM_YFLAGS += -Wno-yacc
noinst_LIBRARIES += libdsl.a
libdsl_a_SOURCES = \
  dsl/claim.c dsl/claim.h dsl/check_claim.c dsl/lower_claim.c \
  dsl/check.c dsl/check.h dsl/check_figure.c dsl/check_stmt.c \
  dsl/fmt.c dsl/fmt.h dsl/fmt_int.h dsl/fmt_print.c \
  dsl/formula.c dsl/formula.h \
  dsl/highlight.c dsl/highlight.h \
  dsl/prose.c dsl/prose.h \
  dsl/model.c dsl/model.h \
  dsl/names.c dsl/names.h \
  dsl/option.c dsl/option.h \
  dsl/compile.c dsl/compile.h \
  dsl/check_models.c dsl/check_unused.c \
  dsl/lower.c dsl/lower.h dsl/lower_int.h dsl/lower_figure.c \
  dsl/lower_run.c dsl/lower_fuse.c dsl/lower_models.c dsl/lower_point.c \
  dsl/resolve.c dsl/resolve.h dsl/resolve_int.h dsl/sweeps.c \
  dsl/rows.c dsl/rows.h \
  dsl/values.c dsl/values.h \
  dsl/words.c dsl/words.h dsl/words.def \
  dsl/ast.c dsl/ast.h \
  dsl/exp.y \
  dsl/exp_scan.l \
  dsl/parse.c dsl/parse.h dsl/parse_int.h \
  dsl/parse_build.c \
  dsl/parse_error.c \
  dsl/parse_token.c
BUILT_SOURCES += dsl/exp.h
dsl/exp_scan.$(OBJEXT) dsl/fmt.$(OBJEXT) dsl/fmt_print.$(OBJEXT) dsl/highlight.$(OBJEXT) dsl/parse.$(OBJEXT) \
  dsl/parse_error.$(OBJEXT) dsl/parse_token.$(OBJEXT): dsl/exp.h

# Tables of the manual, and the words that editors highlight.
EXTRA_PROGRAMS += dsl/words_doc
dsl_words_doc_SOURCES = dsl/words_doc.c dsl/words_doc.h dsl/grammar_doc.c
dsl_words_doc_LDADD = libdsl.a libplan.a $(BASE_LIBS)
CLEANFILES += dsl/words_doc$(EXEEXT)
WORDS_FILES = $(srcdir)/docs/language.md $(srcdir)/contrib/emacs/mergescape-mode.el \
  $(srcdir)/contrib/vim/syntax/mergescape.vim $(srcdir)/contrib/vscode/syntaxes/exp.tmLanguage.json
.PHONY: update-words
update-words: dsl/words_doc$(EXEEXT)
	dsl/words_doc$(EXEEXT) $(srcdir)/dsl/exp.y $(WORDS_FILES)
EXTRA_DIST += contrib
