noinst_LIBRARIES += libmeasure.a
libmeasure_a_SOURCES = \
  src/measure/measure.h src/measure/measure_int.h \
  src/measure/measure_batches.c \
  src/measure/measure_cka.c \
  src/measure/measure_disagreement.c \
  src/measure/measure_distance.c \
  src/measure/measure_directions.c \
  src/measure/measure_evaluate.c \
  src/measure/measure_fisher.c \
  src/measure/measure_gram.c \
  src/measure/measure_files.c src/measure/measure_files.h \
  src/measure/measure_hessian.c \
  src/measure/measure_noise.c \
  src/measure/measure_recalibrate.c
MEASURE_LIBS = libmeasure.a
