"""A reader of safetensors files by the format's description alone: checks each file.

    merge.py FILE...
    merge.py --values FILE TENSOR NUMBER... TENSOR NUMBER...
"""
import json
import struct
import sys

BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
         "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8}


def read(path):
    with open(path, "rb") as f:
        raw = f.read()
    (length,) = struct.unpack("<Q", raw[:8])
    assert length % 8 == 0 and 8 + length <= len(raw), "length of the header"
    header = json.loads(raw[8:8 + length].decode("utf-8"))
    meta = header.pop("__metadata__", {})
    assert all(isinstance(v, str) for v in meta.values()), "metadata"
    json.loads(meta["merged"])
    data, at = raw[8 + length:], 0
    for name, t in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = t["data_offsets"]
        size = BYTES[t["dtype"]]
        for n in t["shape"]:
            size *= n
        assert begin == at and end - begin == size, f"{name}: its place"
        assert begin % BYTES[t["dtype"]] == 0, f"{name}: alignment"
        at = end
    assert at == len(data), "bytes behind the last tensor"
    return header, data


def check_values(path, words):
    header, data = read(path)
    wanted = {}
    for word in words:
        if word in header:
            name = word
            wanted[name] = []
        else:
            wanted[name].append(float(word))
    for name, values in wanted.items():
        begin, end = header[name]["data_offsets"]
        assert header[name]["dtype"] == "F32"
        got = list(struct.unpack(f"<{len(values)}f", data[begin:end]))
        assert got == values, f"{name} is {got}"


if sys.argv[1] == "--values":
    check_values(sys.argv[2], sys.argv[3:])
else:
    for file in sys.argv[1:]:
        read(file)
