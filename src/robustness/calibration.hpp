#pragma once
#include "redoubt/robustness/calibrate.hpp"

namespace redoubt::detail {

/// Error(invalid_argument) naming the option, or for data without labels of two classes.
void require_calibration(const Dataset& data, const CalibrationOptions& options);

}  // namespace redoubt::detail
