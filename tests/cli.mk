# tests of the whole program, and of the source tree
EXTRA_PROGRAMS += tests/make_idx
tests_make_idx_SOURCES = tests/make_idx.c
tests_make_idx_LDADD = libbase.a $(LIBB2_LIBS) $(ZLIB_LIBS) -lm
CLEANFILES += tests/make_idx$(EXEEXT)
check_DATA += tests/make_idx$(EXEEXT)

TESTS += tests/layout.sh tests/cli.sh tests/cli_faults.sh tests/cli_results.sh tests/bits.sh \
  tests/merge.sh tests/merge_property.sh \
  tests/forward.sh tests/matched.sh
EXTRA_DIST += tests/layout.sh tests/cli.sh tests/cli_common.sh tests/cli_faults.sh \
  tests/cli_results.sh tests/page_whole.sh tests/bits.sh tests/merge.sh tests/merge.py \
  tests/merge_property.sh tests/merge_property.py \
  tests/forward.sh tests/forward.py tests/matched.sh tests/matched.py

check_PROGRAMS += tests/test_forward
tests_test_forward_SOURCES = tests/test_forward.c tests/scratch.h
tests_test_forward_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_forward_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_diff
tests_test_diff_SOURCES = tests/test_diff.c tests/scratch.h
tests_test_diff_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_diff_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_command_match
tests_test_command_match_SOURCES = tests/test_command_match.c tests/scratch.h
tests_test_command_match_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_command_match_LDADD = $(MERGE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_command_fuse
tests_test_command_fuse_SOURCES = tests/test_command_fuse.c tests/command_fixture.h tests/scratch.h
tests_test_command_fuse_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_command_fuse_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_command_general
tests_test_command_general_SOURCES = tests/test_command_general.c tests/command_fixture.h \
  tests/scratch.h $(GENERAL_FIXTURE)
tests_test_command_general_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_command_general_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_command_measure
tests_test_command_measure_SOURCES = tests/test_command_measure.c tests/command_fixture.h \
  tests/scratch.h
tests_test_command_measure_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_command_measure_LDADD = libmeasure.a $(MERGE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm
