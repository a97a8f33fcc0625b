bin_PROGRAMS += mergescape
mergescape_SOURCES = src/main.c
mergescape_LDADD = $(BASE_LIBS)
