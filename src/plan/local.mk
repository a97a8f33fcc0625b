noinst_LIBRARIES += libplan.a
libplan_a_SOURCES = \
  src/plan/claim.c src/plan/claim.def src/plan/claim.h \
  src/plan/cost.c src/plan/cost.h \
  src/plan/explain.c src/plan/explain.h src/plan/explain_dot.c src/plan/explain_json.c \
  src/plan/expr.c src/plan/expr.h \
  src/plan/plan.c src/plan/plan.h src/plan/step.def
