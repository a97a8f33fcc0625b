# tests of plan, and of the way from the language to it
EXTRA_DIST += tests/plan

check_PROGRAMS += tests/test_plan
tests_test_plan_SOURCES = tests/test_plan.c
tests_test_plan_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_plan_LDADD = libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_expr
tests_test_expr_SOURCES = tests/test_expr.c tests/scratch.h
tests_test_expr_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_expr_LDADD = libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_explain
tests_test_explain_SOURCES = tests/test_explain.c
tests_test_explain_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_explain_LDADD = libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_words
tests_test_words_SOURCES = tests/test_words.c
tests_test_words_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_words_LDADD = libdsl.a libplan.a $(MERGE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_lower
tests_test_lower_SOURCES = tests/test_lower.c
tests_test_lower_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_lower_LDADD = libdsl.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_mutation
tests_test_mutation_SOURCES = tests/test_mutation.c tests/plan_pairs.h tests/scratch.h
tests_test_mutation_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_mutation_LDADD = libdsl.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)
