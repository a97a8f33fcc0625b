# tests of base
noinst_HEADERS += tests/scratch.h

check_PROGRAMS += tests/test_base
tests_test_base_SOURCES = tests/test_base.c
tests_test_base_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_base_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_file
tests_test_file_SOURCES = tests/test_file.c
tests_test_file_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_file_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_safetensors
tests_test_safetensors_SOURCES = tests/test_safetensors.c
tests_test_safetensors_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_safetensors_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_floats
tests_test_floats_SOURCES = tests/test_floats.c
tests_test_floats_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_floats_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_checkpoint
tests_test_checkpoint_SOURCES = tests/test_checkpoint.c
tests_test_checkpoint_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_checkpoint_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
