#pragma once
// For applications that only load models and predict: link redoubt::predict, which holds no training code.
#include "redoubt/core/error.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"
