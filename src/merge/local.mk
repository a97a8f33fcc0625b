noinst_LIBRARIES += libmerge.a
libmerge_a_SOURCES = \
  src/merge/merge.c src/merge/merge.h \
  src/merge/merge_linear.c
MERGE_LIBS = libmerge.a
