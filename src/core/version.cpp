#include "redoubt/core/version.hpp"

#define REDOUBT_TEXT_(x) #x
#define REDOUBT_TEXT(x) REDOUBT_TEXT_(x)

const char* redoubt::version() noexcept {
  return REDOUBT_TEXT(REDOUBT_VERSION_MAJOR) "." REDOUBT_TEXT(REDOUBT_VERSION_MINOR) "." REDOUBT_TEXT(
      REDOUBT_VERSION_PATCH);
}
