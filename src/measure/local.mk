noinst_LIBRARIES += libmeasure.a
libmeasure_a_SOURCES = \
  src/measure/measure.h \
  src/measure/measure_cka.c \
  src/measure/measure_distance.c \
  src/measure/measure_evaluate.c \
  src/measure/measure_recalibrate.c
MEASURE_LIBS = libmeasure.a
