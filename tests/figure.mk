# tests of figure
check_PROGRAMS += tests/test_figure
tests_test_figure_SOURCES = tests/test_figure.c tests/figure_fixture.c tests/figure_fixture.h
tests_test_figure_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_figure_LDADD = libfigure.a librun.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)
EXTRA_DIST += tests/figure/fig07.gp

check_PROGRAMS += tests/test_points
tests_test_points_SOURCES = tests/test_points.c tests/figure_fixture.h tests/scratch.h
tests_test_points_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_points_LDADD = libfigure.a librun.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_figure_steps
tests_test_figure_steps_SOURCES = tests/test_figure_steps.c tests/run_fixture.c \
  tests/run_fixture.h
tests_test_figure_steps_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_figure_steps_LDADD = libfigure.a librun.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_claims
tests_test_claims_SOURCES = tests/test_claims.c
tests_test_claims_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_claims_LDADD = libdsl.a libfigure.a librun.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS) -lm

check_PROGRAMS += tests/test_panels
tests_test_panels_SOURCES = tests/test_panels.c
tests_test_panels_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_panels_LDADD = libdsl.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_paper
tests_test_paper_SOURCES = tests/test_paper.c
tests_test_paper_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_paper_LDADD = libpaper.a libdsl.a libfigure.a librun.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS) -lm

# draws figures of made-up tables into a folder, to look at
EXTRA_PROGRAMS += tests/draw_samples
tests_draw_samples_SOURCES = tests/draw_samples.c tests/figure_fixture.c tests/figure_fixture.h
tests_draw_samples_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_draw_samples_LDADD = libfigure.a librun.a libplan.a $(BASE_LIBS)

check_PROGRAMS += tests/test_compare
tests_test_compare_SOURCES = tests/test_compare.c tests/scratch.h
tests_test_compare_CPPFLAGS = $(CHECK_CPPFLAGS)
tests_test_compare_LDADD = libfigure.a librun.a libplan.a $(BASE_LIBS) $(CMOCKA_LIBS) -lm
