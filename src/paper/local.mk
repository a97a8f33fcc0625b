noinst_LIBRARIES += libpaper.a
libpaper_a_SOURCES = \
  src/paper/paper.h src/paper/paper_int.h \
  src/paper/costs.c \
  src/paper/tables.c \
  src/paper/tex.c \
  src/paper/weave.c
