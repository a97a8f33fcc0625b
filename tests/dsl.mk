# tests of dsl
EXTRA_DIST += tests/diag tests/parse

check_PROGRAMS += tests/test_diag
tests_test_diag_SOURCES = tests/test_diag.c
tests_test_diag_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_diag_LDADD = libdsl.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_parse
tests_test_parse_SOURCES = tests/test_parse.c
tests_test_parse_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_parse_LDADD = libdsl.a $(BASE_LIBS) $(CMOCKA_LIBS)
