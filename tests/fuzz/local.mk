# make check-fuzz: clang's libFuzzer over the language, for FUZZ_SECONDS; or over files of
# weights and data, with FUZZ_TARGET=safetensors, net or data.  Its objects are its own, since
# all of them need clang and its sanitizers.
EXTRA_DIST += tests/fuzz/dictionary.sh tests/fuzz/fuzz_data.c tests/fuzz/fuzz_exp.c \
  tests/fuzz/fuzz_net.c tests/fuzz/fuzz_safetensors.c tests/fuzz/fuzz_safetensors.h \
  tests/fuzz/run.sh tests/fuzz/safetensors.dict
FUZZ_TARGET = exp
FUZZ_SECONDS = 120
FUZZ_FLAGS = -g -O2 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
fuzz_base = $(filter %.c,$(libbase_a_SOURCES))
fuzz_of_exp = $(filter %.c,$(libplan_a_SOURCES)) $(patsubst %.l,%.c,$(patsubst %.y,%.c,$(filter %.c %.y %.l,$(libdsl_a_SOURCES))))
# The engine without what computes.
fuzz_of_net = src/engine/net.c src/engine/net_file.c src/engine/net_match.c \
  src/engine/net_positions.c \
  $(filter src/engine/zoo%.c,$(libengine_a_SOURCES))
fuzz_of_data = $(filter src/engine/data%.c,$(libengine_a_SOURCES)) \
  $(filter %.c,$(libplan_a_SOURCES)) src/run/store_json.c
fuzz_sources = tests/fuzz/fuzz_$(FUZZ_TARGET).c $(fuzz_base) $(fuzz_of_$(FUZZ_TARGET))
fuzz_objects = $(patsubst %.c,fuzz-objects/%.o,$(fuzz_sources))
fuzz_compile = $(FUZZ_CC) $(DEFS) -I. $(AM_CPPFLAGS) $(CPPFLAGS) -DSRCDIR='"$(abs_top_srcdir)"' \
  $(FUZZ_FLAGS)

# The dictionary knows what words are compared with; tracing it takes half the time.
fuzz_coverage = -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp

fuzz-objects/%.o: %.c dsl/exp.h
	$(AM_V_CC)mkdir -p $(@D) && \
	  $(fuzz_compile) $(fuzz_coverage) -MMD -MP -c -o $@ $<
fuzz-objects/fuzz_$(FUZZ_TARGET): $(fuzz_objects)
	$(AM_V_CCLD)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $(fuzz_objects) \
	  $(LIBB2_LIBS) $(JANSSON_LIBS) $(ZLIB_LIBS) -lm
-include $(patsubst %.o,%.d,$(fuzz_objects))

.PHONY: check-fuzz
check-fuzz:
	+@FUZZ_CC='$(FUZZ_CC)' FUZZ_SECONDS='$(FUZZ_SECONDS)' MAKE='$(MAKE)' \
	  sh '$(srcdir)/tests/fuzz/run.sh' '$(srcdir)' '$(FUZZ_TARGET)'

clean-local: clean-fuzz
.PHONY: clean-fuzz
clean-fuzz:
	rm -rf fuzz-objects
