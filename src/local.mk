bin_PROGRAMS += mergescape
mergescape_SOURCES = \
  src/command_claims.c src/command_diff.c src/command_diff_results.c \
  src/command_evaluate.c src/command_explain.c src/command_export.c src/command_fmt.c src/command_forward.c \
  src/command_merge.c src/command_report.c src/command_status.c src/command_verify.c \
  src/command_weave.c src/command_why.c src/main.c src/options.c src/options.h src/session.h
mergescape_CPPFLAGS = $(AM_CPPFLAGS) -DPKGDATADIR='"$(pkgdatadir)"' \
  -DDATASETDIR='"$(datasetdir)"' -DGNUPLOT='"$(GNUPLOT)"'
mergescape_LDADD = libpaper.a libdsl.a libfigure.a librun.a libmeasure.a $(MERGE_LIBS) libplan.a \
  $(ENGINE_LIBS)
mergescape_SOURCES += src/command_fuse.c src/command_json.c src/command_json.h \
  src/command_match.c src/command_measure.c src/command_merge.h \
  src/inputs.c src/inputs.h src/option_table.c src/option_table.h
