from atomscatter.scattering import Scattering
from service.differences import differences


def test_names_what_differs_and_what_is_missing():
    now = Scattering(beta=0.6).config
    there = Scattering().config
    del there["origin"]
    assert differences(there, now) == 'beta is 0.5 there, 0.6 now; origin is not set there, "atoms" now'
    assert differences(now, now) == ""
