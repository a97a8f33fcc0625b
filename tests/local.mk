# Each module's tests are listed in tests/MODULE.mk.
CHECK_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS) -DSRCDIR='"$(abs_top_srcdir)"'
include tests/base.mk
include tests/dsl.mk
include tests/fmt.mk
include tests/engine.mk
include tests/run.mk
include tests/figure.mk
include tests/plan.mk
include tests/cli.mk
include tests/docs.mk
include tests/fuzz/local.mk
