noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
  src/base/arena.c src/base/arena.h \
  src/base/checkpoint.h src/base/checkpoint_read.c src/base/checkpoint_write.c \
  src/base/diag.c src/base/diag.h \
  src/base/file.c src/base/file.h src/base/file_draft.c src/base/file_int.h \
  src/base/floats.c src/base/floats.h \
  src/base/hash.c src/base/hash.h \
  src/base/num.c src/base/num.h \
  src/base/rng.c src/base/rng.h \
  src/base/safetensors.c src/base/safetensors.h src/base/safetensors_floats.c \
  src/base/safetensors_write.c \
  src/base/source.c src/base/source.h
BASE_LIBS = libbase.a $(LIBB2_LIBS) $(JANSSON_LIBS) -lm
