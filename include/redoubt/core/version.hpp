#pragma once

/// The one place that states the version; the build reads it from here.
#define REDOUBT_VERSION_MAJOR 0
#define REDOUBT_VERSION_MINOR 1
#define REDOUBT_VERSION_PATCH 0

namespace redoubt {

/// "MAJOR.MINOR.PATCH" of the library that is linked (not of the headers). Never allocates.
const char* version() noexcept;

}  // namespace redoubt
