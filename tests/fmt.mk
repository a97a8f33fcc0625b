# tests of the formatter
check_PROGRAMS += tests/test_fmt
tests_test_fmt_SOURCES = tests/test_fmt.c
tests_test_fmt_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_fmt_LDADD = libdsl.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)
tests/test_fmt-test_fmt.$(OBJEXT): dsl/exp.h
TESTS += tests/fmt.sh
EXTRA_DIST += tests/fmt.sh
