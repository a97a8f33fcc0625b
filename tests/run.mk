# tests of run
RUN_TEST_LIBS = librun.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)
RUN_FAKE = tests/run_fake.c tests/run_fake.h tests/run_fixture.c tests/run_fixture.h

check_PROGRAMS += tests/test_store
tests_test_store_SOURCES = tests/test_store.c tests/run_fixture.c tests/run_fixture.h
tests_test_store_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_store_LDADD = $(RUN_TEST_LIBS)

check_PROGRAMS += tests/test_run
tests_test_run_SOURCES = tests/test_run.c $(RUN_FAKE)
tests_test_run_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_run_LDADD = $(RUN_TEST_LIBS)

check_PROGRAMS += tests/test_run_faults
tests_test_run_faults_SOURCES = tests/test_run_faults.c $(RUN_FAKE)
tests_test_run_faults_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_run_faults_LDADD = $(RUN_TEST_LIBS)

check_PROGRAMS += tests/test_progress
tests_test_progress_SOURCES = tests/test_progress.c
tests_test_progress_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_progress_LDADD = $(RUN_TEST_LIBS)

check_PROGRAMS += tests/test_why
tests_test_why_SOURCES = tests/test_why.c tests/run_fixture.c tests/run_fixture.h
tests_test_why_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_why_LDADD = $(RUN_TEST_LIBS)

BIND_FIXTURE = tests/bind_fixture.h tests/run_fixture.c tests/run_fixture.h
BIND_TEST_LIBS = librun.a $(MEASURE_LIBS) $(MERGE_LIBS) libplan.a $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_bind_train
tests_test_bind_train_SOURCES = tests/test_bind_train.c $(BIND_FIXTURE)
tests_test_bind_train_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_bind_train_LDADD = $(BIND_TEST_LIBS)

check_PROGRAMS += tests/test_bind_merge
tests_test_bind_merge_SOURCES = tests/test_bind_merge.c $(BIND_FIXTURE)
tests_test_bind_merge_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_bind_merge_LDADD = $(BIND_TEST_LIBS)

check_PROGRAMS += tests/test_bind_fuse
tests_test_bind_fuse_SOURCES = tests/test_bind_fuse.c $(BIND_FIXTURE)
tests_test_bind_fuse_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_bind_fuse_LDADD = $(BIND_TEST_LIBS)

check_PROGRAMS += tests/test_bind_measure
tests_test_bind_measure_SOURCES = tests/test_bind_measure.c $(BIND_FIXTURE)
tests_test_bind_measure_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_bind_measure_LDADD = $(BIND_TEST_LIBS)

check_PROGRAMS += tests/test_verify
tests_test_verify_SOURCES = tests/test_verify.c $(RUN_FAKE)
tests_test_verify_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_verify_LDADD = $(RUN_TEST_LIBS)

check_PROGRAMS += tests/test_status
tests_test_status_SOURCES = tests/test_status.c $(RUN_FAKE)
tests_test_status_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_status_LDADD = $(RUN_TEST_LIBS)
