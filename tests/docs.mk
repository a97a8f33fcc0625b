# the manual: its examples, and that its tables are up to date
check_PROGRAMS += tests/test_docs
tests_test_docs_SOURCES = tests/test_docs.c
tests_test_docs_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_docs_LDADD = libdsl.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_DATA += dsl/words_doc$(EXEEXT)
TESTS += tests/words_doc.sh
EXTRA_DIST += tests/words_doc.sh
