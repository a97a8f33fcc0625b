noinst_LIBRARIES += libengine.a
libengine_a_SOURCES = \
  src/engine/data.c src/engine/data.h src/engine/data_int.h \
  src/engine/data_batch.c \
  src/engine/data_cifar.c \
  src/engine/data_derive.c \
  src/engine/data_idx.c \
  src/engine/data_bible.c src/engine/data_gpt2.c src/engine/data_text.c src/engine/data_text.h \
  src/engine/kernels.h src/engine/kernels_token.h src/engine/kernels_vec.h \
  src/engine/kernels_winograd.h \
  src/engine/net.c src/engine/net.h src/engine/net_int.h \
  src/engine/net_file.c src/engine/net_fold.c src/engine/net_fold.h \
  src/engine/net_groups.c src/engine/net_groups.h \
  src/engine/net_linear.c src/engine/net_linear.h src/engine/net_norm.c src/engine/net_norm.h \
  src/engine/net_match.c src/engine/net_match.h src/engine/net_layout.c src/engine/net_plan.c \
  src/engine/net_positions.c src/engine/net_positions.h \
  src/engine/net_work.c src/engine/net_work_int.h \
  src/engine/ops.h src/engine/ops_int.h \
  src/engine/ops_conv.c src/engine/ops_cpu.c src/engine/ops_direct.c src/engine/ops_linear.c \
  src/engine/ops_norm.c \
  src/engine/ops_depthwise.c src/engine/ops_pool.c src/engine/ops_winograd.c \
  src/engine/ops_attention.c src/engine/ops_dense.c src/engine/ops_embedding.c \
  src/engine/ops_layernorm.c src/engine/ops_patches.c src/engine/ops_scaled.c \
  src/engine/ops_threads.c src/engine/ops_threads.h src/engine/ops_threads_int.h \
  src/engine/ops_threads_convnext.c src/engine/ops_threads_images.c src/engine/ops_threads_tokens.c \
  src/engine/optim.c src/engine/optim.h \
  src/engine/schedule.c src/engine/schedule.h \
  src/engine/team.c src/engine/team.h \
  src/engine/zoo.c src/engine/zoo.h src/engine/zoo_names.c src/engine/zoo_names.h src/engine/zoo_densenet.c src/engine/zoo_gpt.c \
  src/engine/zoo_mlp.c src/engine/zoo_resnet.c src/engine/zoo_vit.c \
  src/engine/zoo_convnext.c
ENGINE_LIBS = libengine.a $(KERNEL_LIBS) $(OPENBLAS_LIBS) $(ZLIB_LIBS) $(BASE_LIBS)

# The kernels, once an instruction set; ops_cpu.c chooses one at run time.
KERNEL_SOURCES = src/engine/kernels_conv.c src/engine/kernels_depthwise.c \
  src/engine/kernels_gemm.c src/engine/kernels_norm.c src/engine/kernels_optim.c \
  src/engine/kernels_token.c src/engine/kernels_wgrad.c src/engine/kernels_winograd.c
# Without the sanitizers' flags: they take minutes to compile, and hide nothing that
# valgrind does not find.
KERNEL_CFLAGS = $(WARN_CFLAGS) -O2 -ffp-contract=fast
KERNEL_LIBS = libkernels_baseline.a
noinst_LIBRARIES += libkernels_baseline.a
libkernels_baseline_a_SOURCES = $(KERNEL_SOURCES)
libkernels_baseline_a_CFLAGS = $(KERNEL_CFLAGS)
if X86_64
KERNEL_LIBS += libkernels_avx2.a libkernels_avx512.a
noinst_LIBRARIES += libkernels_avx2.a libkernels_avx512.a
libkernels_avx2_a_SOURCES = $(KERNEL_SOURCES)
libkernels_avx2_a_CPPFLAGS = $(AM_CPPFLAGS) -DKERNEL_AVX2
libkernels_avx2_a_CFLAGS = $(KERNEL_CFLAGS) -mavx2 -mfma
libkernels_avx512_a_SOURCES = $(KERNEL_SOURCES)
libkernels_avx512_a_CPPFLAGS = $(AM_CPPFLAGS) -DKERNEL_AVX512
libkernels_avx512_a_CFLAGS = $(KERNEL_CFLAGS) -mavx2 -mfma -mavx512f -mavx512dq -mavx512vl \
  -mavx512bw -mprefer-vector-width=512
endif

libengine_a_SOURCES += src/engine/net_copy.c src/engine/net_copy.h src/engine/net_file_permute.c
