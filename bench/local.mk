# Benchmarks: make bench, then bench/throughput (see bench/README.md)
EXTRA_PROGRAMS += bench/throughput
bench_throughput_SOURCES = bench/throughput.c
bench_throughput_LDADD = $(ENGINE_LIBS)
CLEANFILES += bench/throughput$(EXEEXT)
EXTRA_DIST += bench/README.md

.PHONY: bench
bench: bench/throughput$(EXEEXT)
