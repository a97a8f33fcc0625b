noinst_LIBRARIES += libengine.a
libengine_a_SOURCES = \
  src/engine/data.c src/engine/data.h src/engine/data_int.h \
  src/engine/data_batch.c \
  src/engine/data_cifar.c \
  src/engine/data_idx.c
ENGINE_LIBS = libengine.a $(OPENBLAS_LIBS) $(ZLIB_LIBS) $(BASE_LIBS)
