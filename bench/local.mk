# Benchmarks: make bench, then bench/throughput, bench/matching (see bench/README.md)
EXTRA_PROGRAMS += bench/throughput
bench_throughput_SOURCES = bench/throughput.c
bench_throughput_LDADD = $(ENGINE_LIBS)
CLEANFILES += bench/throughput$(EXEEXT) bench/matching$(EXEEXT)
EXTRA_PROGRAMS += bench/matching
bench_matching_SOURCES = bench/matching.c
bench_matching_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS)
EXTRA_DIST += bench/README.md

.PHONY: bench
bench: bench/throughput$(EXEEXT) bench/matching$(EXEEXT)
