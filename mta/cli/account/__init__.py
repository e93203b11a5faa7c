"""``mta account``: who may submit mail, how they log in, and for which domains they may send."""
