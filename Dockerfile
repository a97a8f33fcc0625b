# docker build -t mergescape .
# docker run --rm -v "$PWD/out:/out" mergescape make figures FIGURES=/out/figures STORE=/out/store
FROM debian:bookworm-slim
WORKDIR /mergescape
# The packages first: editing a source file does not install them again.
COPY apt-packages.txt ./
COPY make/packages.sh make/
RUN sh make/packages.sh && rm -rf /var/lib/apt/lists/*
COPY . .
RUN make -j"$(nproc)" check
CMD ["make", "figures"]
