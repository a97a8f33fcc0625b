noinst_LIBRARIES += libmerge.a
libmerge_a_SOURCES = \
  src/merge/assignment.c src/merge/assignment.h \
  src/merge/match.c src/merge/match.h \
  src/merge/match_activations.c src/merge/match_learned.c src/merge/match_weights.c \
  src/merge/merge.c src/merge/merge.h src/merge/merge_int.h \
  src/merge/merge_dare.c \
  src/merge/merge_fisher.c \
  src/merge/merge_linear.c \
  src/merge/merge_plane.c \
  src/merge/merge_run.c \
  src/merge/merge_select.c src/merge/merge_select.h \
  src/merge/merge_slerp.c \
  src/merge/merge_swa.c \
  src/merge/merge_task_arithmetic.c \
  src/merge/merge_ties.c
MERGE_LIBS = libmerge.a
