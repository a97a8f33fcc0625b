# The scanner cannot be called exp.l: its output would be exp.c, as the grammar's.
AM_YFLAGS += -Wno-yacc
noinst_LIBRARIES += libdsl.a
libdsl_a_SOURCES = \
  dsl/ast.c dsl/ast.h \
  dsl/exp.y \
  dsl/exp_scan.l \
  dsl/parse.c dsl/parse.h dsl/parse_int.h \
  dsl/parse_build.c \
  dsl/parse_error.c \
  dsl/parse_token.c
BUILT_SOURCES += dsl/exp.h
dsl/exp_scan.$(OBJEXT) dsl/parse.$(OBJEXT) dsl/parse_error.$(OBJEXT) dsl/parse_token.$(OBJEXT): \
  dsl/exp.h
