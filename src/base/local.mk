noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
  src/base/arena.c src/base/arena.h \
  src/base/hash.c src/base/hash.h \
  src/base/num.c src/base/num.h \
  src/base/rng.c src/base/rng.h
BASE_LIBS = libbase.a $(LIBB2_LIBS) $(JANSSON_LIBS) -lm
