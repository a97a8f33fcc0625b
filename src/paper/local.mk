noinst_LIBRARIES += libpaper.a
libpaper_a_SOURCES = \
  src/paper/paper.h src/paper/paper_int.h \
  src/paper/report_int.h \
  src/paper/costs.c \
  src/paper/export.c \
  src/paper/html.c \
  src/paper/provenance.c \
  src/paper/record.c \
  src/paper/report.c \
  src/paper/report_style.c \
  src/paper/report_tables.c \
  src/paper/stage.c src/paper/stage.h \
  src/paper/tables.c \
  src/paper/tex.c \
  src/paper/weave.c
