noinst_LIBRARIES += libmerge.a
libmerge_a_SOURCES = \
  src/merge/assignment.c src/merge/assignment.h \
  src/merge/fuse.c src/merge/fuse.h src/merge/fuse_carry.c src/merge/fuse_features.c src/merge/fuse_int.h \
  src/merge/match.c src/merge/match.h \
  src/merge/match_activations.c src/merge/match_canonical.c \
  src/merge/match_general.c src/merge/match_heads.c src/merge/match_int.h \
  src/merge/match_latents.c src/merge/match_latents.h \
  src/merge/match_learned.c src/merge/match_maps.c src/merge/match_neurons.c \
  src/merge/match_path.c src/merge/match_path.h src/merge/match_weights.c \
  src/merge/svd.c src/merge/svd.h \
  src/merge/merge.c src/merge/merge.h src/merge/merge_int.h \
  src/merge/merge_dare.c \
  src/merge/merge_files.c src/merge/merge_files.h src/merge/merge_files_ahead.c \
  src/merge/merge_files_check.c src/merge/merge_files_gram.c src/merge/merge_files_int.h \
  src/merge/merge_fisher.c \
  src/merge/merge_linear.c \
  src/merge/merge_loops.h \
  src/merge/merge_plane.c \
  src/merge/merge_regmean.c \
  src/merge/merge_run.c \
  src/merge/merge_select.c src/merge/merge_select.h \
  src/merge/merge_slerp.c \
  src/merge/merge_swa.c \
  src/merge/merge_task_arithmetic.c \
  src/merge/merge_ties.c \
  src/merge/transport.c src/merge/transport.h
MERGE_LIBS = libmerge.a libmerge_baseline.a

# The loops, once an instruction set; merge.c chooses one at run time.
noinst_LIBRARIES += libmerge_baseline.a
libmerge_baseline_a_SOURCES = src/merge/merge_loops.c
if X86_64
MERGE_LIBS += libmerge_avx2.a libmerge_avx512.a
noinst_LIBRARIES += libmerge_avx2.a libmerge_avx512.a
libmerge_avx2_a_SOURCES = src/merge/merge_loops.c
libmerge_avx2_a_CPPFLAGS = $(AM_CPPFLAGS) -DMERGE_AVX2
libmerge_avx2_a_CFLAGS = $(AM_CFLAGS) -mavx2
libmerge_avx512_a_SOURCES = src/merge/merge_loops.c
libmerge_avx512_a_CPPFLAGS = $(AM_CPPFLAGS) -DMERGE_AVX512
libmerge_avx512_a_CFLAGS = $(AM_CFLAGS) -mavx512f -mavx512dq -mavx512bw -mavx512vl \
  -ffp-contract=off
endif
MERGE_LIBS += $(OPENBLAS_LIBS)
