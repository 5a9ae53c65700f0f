#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {

/// Reads an IDX file (the format of MNIST), plain or gzip, of any element type, converted to double.
/// Sizes are checked against the bytes that are there before anything is allocated (a gzip file may unpack to
/// 4 GiB at most); Error(corrupt) names the byte offset.
Tensor<double> read_idx(const std::string& path);
Tensor<double> read_idx_bytes(std::span<const std::byte> bytes, std::string_view origin = "bytes");

/// Images (first dimension = rows) as numeric columns p0, p1, ... and labels (one dimension, same length) as the
/// categorical target "target". Error(shape_mismatch) names both shapes.
Dataset read_idx(const std::string& images, const std::string& labels);

}  // namespace redoubt
