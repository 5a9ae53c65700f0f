#pragma once
// Words of the simulated marketplace. A template holds words, [one|of|these] and {slots}:
// {noun} {aspect} of the product's category; {good} {bad} adjectives; {person} {span} {place} {number}.
#include <cstddef>
#include <string>
#include <string_view>

#include "redoubt/core/random.hpp"

namespace redoubt::detail {

inline constexpr std::size_t market_categories = 8;

std::string_view market_category(std::size_t category) noexcept;  ///< names in alphabetical order

enum class Voice {
  honest_good,   ///< an owner who is content
  honest_mixed,  ///< an owner who sees both sides
  honest_bad,    ///< an owner who is not content
  shill,         ///< paid praise
  smear          ///< paid blame
};

/// One sentence in a voice about a product of `category`.
std::string market_sentence(Voice voice, std::size_t category, Random& random);
/// A number that names the template of a sentence, for groups that keep to few templates.
std::size_t market_template(Voice voice, Random& random);
std::string market_sentence(Voice voice, std::size_t category, std::size_t chosen, Random& random);

/// Text number `which` (modulo 3) of the bought campaign, or of the brigade: whole reviews, varied in single words.
std::string five_star_text(std::size_t which, std::size_t category, Random& random);
std::string one_star_text(std::size_t which, std::size_t category, Random& random);

}  // namespace redoubt::detail
