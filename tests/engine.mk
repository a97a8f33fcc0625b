# tests of engine

check_PROGRAMS += tests/test_data
tests_test_data_SOURCES = tests/test_data.c
tests_test_data_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_data_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_data_text
tests_test_data_text_SOURCES = tests/test_data_text.c tests/scratch.h
tests_test_data_text_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_data_text_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_optim
tests_test_optim_SOURCES = tests/test_optim.c
tests_test_optim_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_optim_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_batch
tests_test_batch_SOURCES = tests/test_batch.c
tests_test_batch_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_batch_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_merge
tests_test_merge_SOURCES = tests/test_merge.c
tests_test_merge_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_merge_LDADD = $(MERGE_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_assignment
tests_test_assignment_SOURCES = tests/test_assignment.c
tests_test_assignment_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_assignment_LDADD = $(MERGE_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_groups
tests_test_groups_SOURCES = tests/test_groups.c
tests_test_groups_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_groups_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_curvature
tests_test_curvature_SOURCES = tests/test_curvature.c
tests_test_curvature_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_curvature_LDADD = $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_regmean
tests_test_regmean_SOURCES = tests/test_regmean.c
tests_test_regmean_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_regmean_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_transport
tests_test_transport_SOURCES = tests/test_transport.c tests/fuse_fixture.h
tests_test_transport_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_transport_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_fuse
tests_test_fuse_SOURCES = tests/test_fuse.c tests/fuse_fixture.h
tests_test_fuse_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_fuse_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_intra_fusion
tests_test_intra_fusion_SOURCES = tests/test_intra_fusion.c tests/fuse_fixture.h
tests_test_intra_fusion_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_intra_fusion_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_match
tests_test_match_SOURCES = tests/test_match.c
tests_test_match_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_match_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_merge_ties
tests_test_merge_ties_SOURCES = tests/test_merge_ties.c tests/merge_fixture.h
tests_test_merge_ties_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_merge_ties_LDADD = $(MERGE_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_merge_dare
tests_test_merge_dare_SOURCES = tests/test_merge_dare.c tests/merge_fixture.h
tests_test_merge_dare_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_merge_dare_LDADD = $(MERGE_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_merge_fisher
tests_test_merge_fisher_SOURCES = tests/test_merge_fisher.c tests/merge_fixture.h
tests_test_merge_fisher_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_merge_fisher_LDADD = $(MERGE_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_merge_pieces
tests_test_merge_pieces_SOURCES = tests/test_merge_pieces.c tests/merge_fixture.h
tests_test_merge_pieces_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_merge_pieces_LDADD = $(MERGE_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_merge_files
tests_test_merge_files_SOURCES = tests/test_merge_files.c
tests_test_merge_files_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_merge_files_LDADD = $(MERGE_LIBS) $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_measure
tests_test_measure_SOURCES = tests/test_measure.c
tests_test_measure_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_measure_LDADD = $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS)

EXTRA_PROGRAMS += tests/parity/driver
tests_parity_driver_SOURCES = tests/parity/driver.c
tests_parity_driver_LDADD = $(ENGINE_LIBS)
CLEANFILES += tests/parity/driver$(EXEEXT)
TESTS += tests/parity/check.sh
EXTRA_DIST += tests/parity/check.sh tests/parity/run.py tests/parity/harness.py \
  tests/parity/mlp.py tests/parity/resnet.py tests/parity/densenet.py tests/parity/gpt.py \
  tests/parity/vit.py tests/parity/convnext.py
check_DATA = tests/parity/driver$(EXEEXT)

# The paper's sizes too (minutes).  PARITY=TEXT takes the cases whose line has TEXT.
.PHONY: check-parity
check-parity: tests/parity/driver$(EXEEXT)
	@srcdir=$(srcdir) PARITY='$(PARITY)' sh $(srcdir)/tests/parity/check.sh all || test $$? = 77

TESTS += tests/ops_covered.sh
EXTRA_DIST += tests/ops_covered.sh

check_PROGRAMS += tests/test_conv
tests_test_conv_SOURCES = tests/test_conv.c tests/twin.h
tests_test_conv_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_conv_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_ops
tests_test_ops_SOURCES = tests/test_ops.c tests/twin.h
tests_test_ops_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_ops_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_threads
tests_test_threads_SOURCES = tests/test_threads.c tests/threads_fixture.h
tests_test_threads_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_threads_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_threads_net
tests_test_threads_net_SOURCES = tests/test_threads_net.c tests/threads_fixture.h
tests_test_threads_net_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_threads_net_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_winograd
tests_test_winograd_SOURCES = tests/test_winograd.c
tests_test_winograd_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_winograd_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_schedule
tests_test_schedule_SOURCES = tests/test_schedule.c
tests_test_schedule_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_schedule_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_net
tests_test_net_SOURCES = tests/test_net.c tests/net_fixture.h tests/scratch.h
tests_test_net_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_net_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_net_train
tests_test_net_train_SOURCES = tests/test_net_train.c tests/net_fixture.h
tests_test_net_train_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_net_train_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_net_file
tests_test_net_file_SOURCES = tests/test_net_file.c tests/scratch.h
tests_test_net_file_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_net_file_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_transformer
tests_test_transformer_SOURCES = tests/test_transformer.c tests/twin.h
tests_test_transformer_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_transformer_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_gpt
tests_test_gpt_SOURCES = tests/test_gpt.c tests/scratch.h tests/twin.h
tests_test_gpt_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_gpt_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_vit
tests_test_vit_SOURCES = tests/test_vit.c tests/scratch.h tests/twin.h
tests_test_vit_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_vit_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_convnext
tests_test_convnext_SOURCES = tests/test_convnext.c tests/scratch.h tests/twin.h
tests_test_convnext_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_convnext_LDADD = $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

GENERAL_FIXTURE = tests/general_fixture.c tests/general_fixture.h

check_PROGRAMS += tests/test_match_semi
tests_test_match_semi_SOURCES = tests/test_match_semi.c $(GENERAL_FIXTURE)
tests_test_match_semi_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_match_semi_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_match_general
tests_test_match_general_SOURCES = tests/test_match_general.c $(GENERAL_FIXTURE)
tests_test_match_general_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_match_general_LDADD = $(MERGE_LIBS) $(MEASURE_LIBS) $(ENGINE_LIBS) $(CMOCKA_LIBS) -lm
