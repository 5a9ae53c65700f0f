#pragma once
#include "redoubt/data/row_stream.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

class Trainer;

/// One pass of steps over rows that need not fit in memory, in their order: the same weights, bit for bit, as steps
/// over the rows in memory. Memory is that of the trainer and one batch. The last batch may be smaller; what is
/// accumulated at the end is moved along. Returns the mean loss of the rows while they passed. Call it once per epoch:
/// it rewinds the stream first. Shuffle the file, not the stream. Error(shape_mismatch) if the stream is not one for
/// the trainer, Error(invalid_argument) if it has no row; else what the stream and `Trainer::step` throw.
double train_stream(Trainer& trainer, RowStream& stream);

}  // namespace redoubt
