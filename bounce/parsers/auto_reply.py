"""Answers of programs that speak for a person: vacation notices (RFC 3834 and the unmarked ones), tickets, challenges.

They show that an address works, or at least that somebody reads for it, and change nothing.

It must never call a mail system's report an answer: reports are looked for first.

*Limits.* An unmarked notice is known by its words, in English, Dutch, German, French, Spanish, Italian and a little
Portuguese; one in another language is ordinary mail, which changes nothing either.
"""

from __future__ import annotations

from bounce.parsers.author import is_marked
from bounce.parsers.free_text import FreeTextBounce, address_of
from bounce.parsers.kinds import Report, Reported, ReportedAction, ReportKind
from bounce.parsers.mime import Mail, decode_words
from bounce.parsers.phrases import any_of

MAX_LINES = 60  # longer mail without a mark is a person's

_SUBJECT = any_of(
    r"(?:re|aw|antw|r)\s{0,2}:\s{0,2}(?:automatic reply|automatische antwort|automatisch antwoord)",
    r"auto(?:mat(?:ic|ed|isch(?:e|es)?|isk|ique|ica))?[- ]?(?:reply|response|respons|antwort|svar|antwoord|risposta)\b",
    r"autoreply|auto:",
    r"automatisch antwoord|automatische (?:antwort|afwezigheid|beantwoording)|autosvar",
    r"abwesenheit|ich bin (?:nicht|derzeit|im)|urlaub|nicht im (?:b.ro|haus)",
    r"afwezig|niet aanwezig|buiten kantoor|vakantie",
    r"r.ponse automatique|absence\b|absente?\b|en cong",
    r"respuesta autom.tica|fuera de la oficina|ausente|ausencia|resposta autom.tica",
    r"risposta automatica|fuori (?:sede|ufficio)|assente",
    r"out of (?:the )?office|ooo\b|away (?:from|until)|on vacation|vacation",
    r"on (?:annual |maternity |paternity )?leave",
)
_WORDS = any_of(
    r"out of (?:the |my )?office",
    r"(?:am|be|currently|is) (?:away )?on (?:annual |maternity |parental |sick )?(?:leave|vacation|holiday)",
    r"away (?:from (?:my|the) (?:desk|office)|until)",
    r"(?:limited|no|without) access to (?:my )?e-?mails?",
    r"(?:will|shall) (?:reply|respond|answer|get back).{0,40}(?:(?:up)?on my return|when i return|as soon as)",
    r"no longer (?:work|with|employed)",
    r"this is an auto(?:matic|mated)(?:ally generated)? (?:reply|response|answer)",
    r"(?:we have|we've|we) (?:successfully )?received your (?:e-?mail|message|request|enquiry|inquiry)",
    r"nicht im (?:b.ro|hause?)",
    r"(?:bin|sind|ist) (?:bis|vom|ab|derzeit|zur zeit|momentan|im|in) .{0,40}"
    r"(?:urlaub|abwesend|nicht erreichbar|elternzeit)",
    r"abwesend\b|nicht (?:erreichbar|da)\b",
    r"wieder (?:erreichbar|im b.ro|f.r sie da)",
    r"keinen zugriff auf (?:meine )?e-?mails?",
    r"automatisch (?:erstellte|generierte|gegenereerd)|dies ist eine automatische",
    r"ihre (?:anfrage|nachricht|e-?mail) (?:ist (?:bei uns )?eingegangen|haben wir erhalten)",
    r"(?:ben|is) (?:ik )?(?:momenteel |tot |van |op dit moment )?.{0,30}"
    r"(?:afwezig|niet aanwezig|op vakantie|met verlof|buiten kantoor)",
    r"niet op kantoor|op vakantie|terug op kantoor|dit is een automatisch",
    r"(?:wij|we) hebben (?:uw|je) (?:e-?mail|bericht|vraag) .{0,20}ontvangen",
    r"(?:je suis|suis actuellement|serai) .{0,30}(?:absente?|en cong.s?|en vacances|en d.placement)",
    r"absente? (?:du bureau|jusqu)|de retour (?:le|au) (?:bureau|\d)",
    r"ceci est une r.ponse automatique|nous avons bien re.u votre",
    r"(?:estoy|estar.|me encuentro|me encontrar.) .{0,30}"
    r"(?:fuera de la oficina|de vacaciones|ausente|de viaje|de baja)",
    r"fuera de la oficina|respuesta autom.tica|hemos recibido su (?:mensaje|correo|solicitud|consulta)",
    r"sar. assente|sono (?:assente|fuori|in ferie)|fuori ufficio",
    whole_words=True,
)
_CHALLENGE = any_of(
    r"challenge[-/ ]response|sender verification (?:required|request)",
    r"confirm (?:that )?you are (?:a )?(?:human|real)",
    r"(?:click|follow|visit|reply|respond|confirm).{0,120}(?:so that|in order|for) (?:your|the|this) "
    r"(?:message|e-?mail) (?:to |will |can )?(?:be )?(?:deliver|release|accept)",
    r"(?:message|mail) (?:is|has been|was|will be) (?:being )?(?:held|quarantined|queued|on hold)\b.{0,200}"
    r"(?:confirm|verify|verification|authenticat|prove|click|reply)",
    r"spam ?arrest|boxbe|spamblocker|tmda\b|qconfirm|mailblocks|sendio|bitbounce|choicemail|knowspam",
    r"ihre (?:e-?mail|nachricht) (?:wird|wurde) .{0,60}zur.ckgehalten.{0,160}best.tig",
    r"bevestig .{0,80}(?:bericht|e-?mail) (?:wordt|af)",
    r"confirmez .{0,80}(?:message|courriel) (?:soit|sera) (?:remis|d.livr|distribu)",
    r"confirme .{0,80}mensaje (?:sea|ser.) entregado",
    whole_words=True,
)


def read_answer(mail: Mail, notice: FreeTextBounce) -> Report | None:
    """The program's answer that ``mail`` is, or None."""
    words = "\n".join(notice.lines[:MAX_LINES])[:6000].lower()
    subject = decode_words(mail.fields.get("subject") or "").lower().strip(" \t[(*!-")
    if _CHALLENGE.search(words) or _CHALLENGE.search(subject):
        return _report(mail, ReportKind.CHALLENGE, "challenge")
    if is_marked(mail):
        return _report(mail, ReportKind.AUTO_REPLY, "rfc3834")
    if _SUBJECT.match(subject) or (len(notice.lines) <= MAX_LINES and _WORDS.search(words)):
        return _report(mail, ReportKind.AUTO_REPLY, "vacation")
    return None


def _report(mail: Mail, kind: ReportKind, form: str) -> Report:
    value = mail.fields.get("from") or ""
    address = address_of(value.rpartition("<")[2].partition(">")[0] if "<" in value else value.partition("(")[0])
    return Report(kind, form, (Reported(ReportedAction.REPLIED, address, address),) if address else ())
