noinst_LIBRARIES += libplan.a
libplan_a_SOURCES = \
  src/plan/explain.c src/plan/explain.h \
  src/plan/expr.c src/plan/expr.h \
  src/plan/plan.c src/plan/plan.h src/plan/step.def
