"""The companies of the sample mails: none of them exists."""

from __future__ import annotations

from policy.accounts.account import Identity

BOLLENHOF = Identity(
    "nl", ("Bollenhof Lisse B.V.",), "Heereweg 245a", "2161 BG", "Lisse", "NL", "+31 252 550123",
    "klantenservice@bollenhof.example", "KvK", "30124567", "NL812345009B01",
)  # fmt: skip
BOLLENHOF_EN = Identity(
    "en", ("Bollenhof Bulbs Ltd",), "1 Tulip Street", "LS1 4AB", "Leeds", "GB", "+44 20 7946 0999",
    "service@bollenhof.example", "Companies House", "03456780",
)  # fmt: skip
WANDERFUCHS = Identity(
    "de", ("Wanderfuchs Reisen GmbH & Co. KG",), "Mühlenstraße 17", "52062", "Aachen", "DE", "+49 241 5501234",
    "service@wanderfuchs.example", "HRA Aachen", "9876", "DE298765402", "Jörg Füchsel, Anne Weiß",
)  # fmt: skip
CAVE = Identity(
    "fr", ("Cave du Val SARL", "La Cave du Val"), "8, avenue des Vignes", "33000", "Bordeaux", "FR",
    "+33 5 99 00 12 34", "bonjour@caveduval.example", "RCS Bordeaux", "812345601", "FR85812345601", "Hélène Morel",
)  # fmt: skip
ALMAZARA = Identity(
    "es", ("Almazara del Sol SL",), "Avenida de la Constitución 22", "23001", "Jaén", "ES", "953 55 01 23",
    "hola@almazarasol.example", "Registro Mercantil de Jaén", "Tomo 512, Folio 33, Hoja J-10422", "ESB87654307",
)  # fmt: skip
MOORWOOL = Identity(
    "en", ("Moor & Wool Ltd", "Moor & Wool Limited"), "14 Station Road", "LS1 4AB", "Leeds", "GB", "+44 20 7946 0123",
    "help@moorwool.example", "Companies House", "03456789", "GB234567805",
)  # fmt: skip
