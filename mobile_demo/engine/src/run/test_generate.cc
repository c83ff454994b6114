// The ids that a full context goes on with.
#include "run/generate.h"
#include "testing/check.h"

int main() {
  for (const size_t context : {1, 2, 3, 4, 7, 8, 16, 17, 63, 512, 4096}) {
    for (const size_t kept : {0, 1, 4, 5, 100, 100000}) {
      CASE("context %zu, kept %zu", context, kept);
      std::vector<int32_t> ids;
      for (size_t i = 0; i <= context; i++) ids.push_back(static_cast<int32_t>(i));
      const std::vector<int32_t> found = edge::shifted(ids, kept, context);
      CHECK(!found.empty() && found.size() <= context);
      CHECK(context < 4 || found.size() < context);
      CHECK(found.back() == static_cast<int32_t>(context));
      size_t first = 0;
      while (first < found.size() && found[first] == static_cast<int32_t>(first)) first++;
      if (context >= 16) CHECK(first >= 4);
      if (context >= 4 * kept && kept > 4) CHECK(first == kept);
      // The rest has no gap.
      for (size_t i = first + 1; i < found.size(); i++) CHECK(found[i] == found[i - 1] + 1);
      if (context > 1) CHECK(found.size() - first >= context / 2);
    }
  }
  return failures != 0;
}
