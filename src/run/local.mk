noinst_LIBRARIES += librun.a
librun_a_SOURCES = \
  src/run/bind.c src/run/bind.h src/run/bind_int.h \
  src/run/bind_calibrate.c src/run/bind_calibrate.h src/run/bind_cost.c \
  src/run/bind_fuse.c src/run/bind_match.c src/run/bind_measure.c src/run/bind_merge.c \
  src/run/bind_own.c src/run/bind_steps.c src/run/bind_work.c src/run/bind_work.h \
  src/run/peak.c src/run/peak.h src/run/progress.c src/run/progress.h \
  src/run/run.c src/run/run.h src/run/run_int.h \
  src/run/run_graph.c src/run/run_worker.c \
  src/run/status.c src/run/status.h \
  src/run/store.c src/run/store.h src/run/store_int.h \
  src/run/store_draft.c src/run/store_json.c src/run/store_list.c \
  src/run/verify.c src/run/verify.h \
  src/run/why.c src/run/why.h
