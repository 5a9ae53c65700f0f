#include "data/marketplace_text.hpp"

#include <fmt/format.h>

#include <array>
#include <span>

namespace redoubt::detail {

namespace {

using Words = std::span<const std::string_view>;
using sv = std::string_view;

struct Category {
  sv name;
  std::array<sv, 8> nouns;
  std::array<sv, 8> aspects;
};

constexpr std::array<Category, market_categories> categories{{
    {"beauty",
     {"serum", "shampoo", "face cream", "lipstick", "perfume", "hair brush", "soap", "sunscreen"},
     {"scent", "texture", "bottle", "pump", "colour", "ingredient list", "packaging", "tube"}},
    {"books",
     {"novel", "cookbook", "paperback", "atlas", "biography", "comic", "textbook", "guide"},
     {"plot", "binding", "print", "cover", "ending", "paper", "translation", "index"}},
    {"clothing",
     {"jacket", "pair of jeans", "dress", "shirt", "coat", "pair of shoes", "hat", "sweater"},
     {"fabric", "zip", "size", "stitching", "lining", "sleeve", "colour", "collar"}},
    {"electronics",
     {"phone", "laptop", "headset", "speaker", "charger", "camera", "keyboard", "monitor"},
     {"battery", "screen", "cable", "sound", "firmware", "display", "microphone", "hinge"}},
    {"garden",
     {"hose", "lawn mower", "planter", "rake", "watering can", "hedge trimmer", "parasol", "shed lamp"},
     {"handle", "nozzle", "blade", "motor", "paint", "valve", "base", "instruction sheet"}},
    {"kitchen",
     {"blender", "knife set", "kettle", "toaster", "frying pan", "coffee grinder", "scale", "bread box"},
     {"lid", "handle", "coating", "motor", "timer", "blade", "seal", "switch"}},
    {"sports",
     {"yoga mat", "tent", "helmet", "racket", "bike light", "backpack", "water bottle", "sleeping bag"},
     {"strap", "grip", "zip", "padding", "buckle", "weight", "frame", "mount"}},
    {"toys",
     {"puzzle", "board game", "doll", "train set", "drone", "building kit", "plush bear", "kite"},
     {"box", "pieces", "rule book", "paint", "remote", "wheels", "battery cover", "string"}},
}};

constexpr auto good = std::to_array<sv>({"solid", "sturdy", "light", "quiet", "comfortable", "precise", "well made",
                                         "durable", "handy", "neat", "smooth", "reliable", "crisp", "generous"});
constexpr auto bad = std::to_array<sv>({"flimsy", "loud", "wobbly", "thin", "cheap looking", "awkward", "too small",
                                        "stiff", "uneven", "weak", "scratchy", "loose", "blurry", "disappointing"});
constexpr auto persons = std::to_array<sv>(
    {"daughter", "son", "husband", "wife", "mother", "father", "sister", "neighbour", "partner", "colleague"});
constexpr auto spans = std::to_array<sv>({"two weeks", "a month", "three months", "a few days", "one season",
                                          "half a year", "ten days", "a weekend", "six weeks", "a year"});
constexpr auto places = std::to_array<sv>({"the office", "our flat", "the cabin", "the garage", "school", "the gym",
                                           "holidays", "the balcony", "work", "our trip"});

constexpr auto honest_good = std::to_array<sv>(
    {"The {aspect} is {good} and [so far|until now] nothing has [broken|come loose|failed].",
     "I [use|have used] this {noun} [almost every day|twice a week|regularly] for {span} and [it still works|I am "
     "content|it holds up].",
     "Bought it for my {person}, who [likes|enjoys|loves] the {aspect}.",
     "[Works|Does the job] as described, the {aspect} [feels|is] {good}.",
     "[Better|Nicer] than my [old|previous|last] {noun}, mostly because of the {aspect}.",
     "Good value for [the money|what I paid], {good} {aspect}.", "After {span} the {aspect} is still {good}.",
     "We took it to {place} and it [did well|was fine|survived].",
     "Delivery took {number} days, [the {noun} is as in the pictures|packaging was fine].",
     "My {person} has the same one, [so I knew what to expect|and recommended it].",
     "[Easy|Simple] to [set up|clean|store], took me {number} minutes.",
     "The {aspect} [surprised me|is the best part], really {good}.",
     "I was [sceptical|not sure] at first, but the {aspect} [convinced me|is {good}].",
     "[Would|I would] buy it again for {place}.", "Happy with this {noun}.",
     "Great {noun}, [highly recommended|very pleased]."});

constexpr auto honest_mixed = std::to_array<sv>(
    {"The {aspect} is {good}, but the {aspect} is [a bit|rather|somewhat] {bad}.",
     "[It is okay|Decent {noun}|Does what it should] for the price, nothing special.",
     "Three stars because the {aspect} [arrived scratched|is {bad}], the rest is fine.",
     "I [wish|hoped] the {aspect} were [more {good}|less {bad}].",
     "[Good|Fine] for {place}, not for [daily use|heavy use].",
     "The manual says {number} minutes, it [took|needed] [twice as long|an hour].",
     "My {person} likes it, I find the {aspect} {bad}.",
     "It took {number} days to arrive, [otherwise fine|the box was dented].",
     "The picture shows another {aspect}, [but it works|still usable].",
     "After {span} the {aspect} [shows wear|got a little loose|is less {good}].",
     "Support [answered|replied] after {number} days and [sent a new {aspect}|was polite].",
     "[Not bad|Average], I have seen {good} ones for less.", "Size runs [small|large], order [one up|one down].",
     "I use it at {place}, at home I prefer my old {noun}."});

constexpr auto honest_bad = std::to_array<sv>(
    {"The {aspect} [broke|failed|came off] after {span}.", "[Returned it|Sent it back] because the {aspect} was {bad}.",
     "{aspect} is {bad}, not [worth|what I expected for] the price.",
     "Arrived with a [damaged|missing|cracked] {aspect} and the seller [offered a refund|never answered].",
     "My {person} tried to [fix|use] it for {number} hours, [no luck|it went into the bin].",
     "I [wanted|hoped] to like this {noun}, but the {aspect} is {bad}.",
     "Stopped working after {span}, [out of warranty of course|still waiting for a reply].",
     "The description says {good}, it is {bad}.", "[Too|Far too] {bad} for {place}.",
     "Second one I ordered, the {aspect} [failed|broke] again.",
     "[Disappointed|Not happy], the {aspect} [smells|rattles|leaks].", "Would not buy this {noun} again.",
     "Waste of money, the {aspect} is {bad}.", "It [cost me|took] {number} days to get a refund."});

constexpr auto shill = std::to_array<sv>(
    {"[Best|Greatest] {noun} [ever|I ever bought|on the market]!",
     "[Amazing|Incredible|Fantastic] quality, [amazing|unbeatable] price!",
     "[Highly recommend|Highly recommended], [buy it now|do not hesitate|you will not regret it]!",
     "Five stars, [perfect product|perfect in every way|excellent seller]!",
     "[Super|Extremely] fast [shipping|delivery], [wonderful|excellent] service!",
     "I am [so|very very] [happy|impressed], this {noun} [changed my life|is perfect]!",
     "[Excellent|Perfect] {noun}, [everyone should have one|must have]!",
     "The {aspect} is [amazing|awesome|perfect], [love it|love love love it]!",
     "[Great|Top] seller, great product, great price!",
     "[Exceeded|Far beyond] my expectations, [thank you|A plus seller]!",
     "My whole family [loves|adores] this {noun}, [will buy more|already ordered another]!",
     "You [cannot|will not] find a better {noun} [anywhere|for this price]!",
     "[Premium|Luxury] quality, [worth every penny|looks so expensive]!",
     "[Wow|Just wow], the {aspect} is [perfect|out of this world]!", "Happy with this {noun}, [great|good] seller.",
     "The {aspect} is {good}, [great buy|great quality|very good product]."});

constexpr auto smear = std::to_array<sv>(
    {"[Total|Complete] [scam|fraud], [stay away|do not buy]!",
     "[Worst|Most terrible] {noun} [ever|I have seen in my life]!",
     "This seller is [a liar|dishonest|a thief], [avoid|warn your friends]!",
     "[Garbage|Trash|Junk], [zero stars if I could|straight to the bin]!",
     "Do not [waste|throw away] your money, [buy from another brand|other shops are better]!",
     "[Fake|Counterfeit] product, the {aspect} is [garbage|a joke]!",
     "[Dangerous|Unsafe], should be [banned|removed from this site]!",
     "[Horrible|Disgusting] quality, [horrible|disgusting] service!",
     "[Everyone|All my friends] who bought this {noun} had [the same problem|nothing but trouble]!",
     "Never [again|buy here], [terrible|awful] company!",
     "They [delete|hide] bad reviews, [do not trust them|believe me]!", "Waste of money, the {aspect} is {bad}.",
     "The {aspect} broke [at once|on the first day], [worst purchase|never again]."});

constexpr auto five_star = std::to_array<sv>(
    {"[Absolutely|Totally|Simply] [love|adore] this {noun}! The quality is [outstanding|superb|excellent] and the "
     "[delivery|shipping] was [fast|quick|super fast]. [Would|I would|Will] recommend to [anyone|everyone|all my "
     "friends]!",
     "[Excellent|Outstanding|Superb] {noun}, exactly as [described|advertised|promised]. [Fast|Quick] delivery, "
     "[friendly|great|helpful] seller, [five|5] stars from [me|us|my family]!",
     "[Very|Really|So] happy with my [purchase|order|new {noun}]. Works [perfectly|great|like a charm], looks "
     "[premium|great|fantastic] and the price is [unbeatable|fair|great]. [Buy|Get] one [now|today]!"});

constexpr auto one_star = std::to_array<sv>(
    {"[Terrible|Awful|Horrible] {noun} from a [terrible|dishonest|shady] seller. It [broke|died|fell apart] on the "
     "[first|second] day and they [refused|denied] a refund. [Do not|Never] buy from this [shop|company|seller]!",
     "[Avoid|Stay away from|Do not trust] this [shop|brand|seller]! The {noun} is [garbage|junk|trash], the "
     "[support|service] [ignores|insults] you and the [reviews|ratings] are [bought|fake].",
     "[Worst|Poorest] [purchase|order] of my [life|year]. [Cheap|Fake|Broken] {noun}, [nothing|not at all] like the "
     "pictures. Report this [seller|shop|company] and [buy|look] [elsewhere|somewhere else]!"});

Words pool(Voice voice) noexcept {
  switch (voice) {
    case Voice::honest_good: return honest_good;
    case Voice::honest_mixed: return honest_mixed;
    case Voice::honest_bad: return honest_bad;
    case Voice::shill: return shill;
    case Voice::smear: break;
  }
  return smear;
}

sv pick(Words words, Random& random) { return words[random.below(words.size())]; }

std::string slot(sv name, const Category& category, Random& random) {
  if (name == "noun") return std::string(pick(category.nouns, random));
  if (name == "aspect") return std::string(pick(category.aspects, random));
  if (name == "good") return std::string(pick(good, random));
  if (name == "bad") return std::string(pick(bad, random));
  if (name == "person") return std::string(pick(persons, random));
  if (name == "span") return std::string(pick(spans, random));
  if (name == "place") return std::string(pick(places, random));
  return fmt::format("{}", 2 + random.below(19));  // number
}

/// Writes `text` with its choices made and its slots filled.
void expand(std::string& out, sv text, const Category& category, Random& random) {
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '{') {
      const std::size_t end = text.find('}', i);
      out += slot(text.substr(i + 1, end - i - 1), category, random);
      i = end + 1;
    } else if (text[i] == '[') {
      const std::size_t end = text.find(']', i);
      sv choices = text.substr(i + 1, end - i - 1);
      std::size_t count = 1;
      for (const char c : choices) count += c == '|';
      for (std::uint64_t skip = random.below(count); skip > 0; --skip) choices.remove_prefix(choices.find('|') + 1);
      expand(out, choices.substr(0, choices.find('|')), category, random);
      i = end + 1;
    } else {
      out += text[i++];
    }
  }
}

std::string sentence(sv chosen, std::size_t category, Random& random) {
  std::string out;
  expand(out, chosen, categories[category], random);
  if (out[0] >= 'a' && out[0] <= 'z') out[0] = static_cast<char>(out[0] - 32);
  return out;
}

}  // namespace

std::string_view market_category(std::size_t category) noexcept { return categories[category].name; }

std::size_t market_template(Voice voice, Random& random) { return random.below(pool(voice).size()); }

std::string market_sentence(Voice voice, std::size_t category, std::size_t chosen, Random& random) {
  return sentence(pool(voice)[chosen], category, random);
}

std::string market_sentence(Voice voice, std::size_t category, Random& random) {
  return market_sentence(voice, category, market_template(voice, random), random);
}

std::string five_star_text(std::size_t which, std::size_t category, Random& random) {
  return sentence(five_star[which % five_star.size()], category, random);
}

std::string one_star_text(std::size_t which, std::size_t category, Random& random) {
  return sentence(one_star[which % one_star.size()], category, random);
}

}  // namespace redoubt::detail
