# Benchmarks: make bench, then bench/throughput, bench/matching, bench/make_checkpoint
# (see bench/README.md)
EXTRA_PROGRAMS += bench/throughput
bench_throughput_SOURCES = bench/throughput.c
bench_throughput_LDADD = $(ENGINE_LIBS)
CLEANFILES += bench/throughput$(EXEEXT) bench/matching$(EXEEXT)
EXTRA_PROGRAMS += bench/matching
bench_matching_SOURCES = bench/matching.c
bench_matching_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS)
EXTRA_PROGRAMS += bench/make_checkpoint
bench_make_checkpoint_SOURCES = bench/make_checkpoint.c
bench_make_checkpoint_LDADD = $(BASE_LIBS)
CLEANFILES += bench/make_checkpoint$(EXEEXT)
EXTRA_DIST += bench/README.md bench/against_peer.py

.PHONY: bench
bench: bench/throughput$(EXEEXT) bench/matching$(EXEEXT) bench/make_checkpoint$(EXEEXT)
