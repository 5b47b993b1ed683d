"""Lexicon: words that tend to go together, so that a label can be recognised without its own name in the text.

A stand-in for meaning and nothing more: common labels of everyday classification with everyday words for them, in
English and, for the commonest, German, French and Spanish.
"""

from __future__ import annotations

from collections.abc import Mapping


def _bag(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: A label word (or several) -> words that suggest it.
RELATED: Mapping[str, str] = {
    "billing payment invoice charge finance": (
        "invoice bill billed charge charged payment pay paid card credit receipt subscription price cost tax vat "
        "bank debit overcharged twice rechnung zahlung bezahlt abgebucht konto betrag facture paiement payer "
        "prélèvement débité factura pago cobro cobrado tarjeta"
    ),
    "refund return": (
        "refund refunded return money back reimburse reimbursement cancel exchange rückerstattung erstattung "
        "zurück rembourser remboursement retour reembolso devolución devolver"
    ),
    "bug technical error crash problem defect outage support": (
        "bug error crash crashes crashed broken fails failed failing failure freeze freezes frozen exception "
        "stack blank screen glitch slow loading load timeout stopped working install update version app browser "
        "fehler absturz kaputt funktioniert lädt erreur plante panne bogue marche fallo falla funciona pantalla"
    ),
    "shipping delivery order logistics": (
        "ship shipped shipping delivery deliver delivered parcel package courier tracking track arrive arrived "
        "arrives late lost order address warehouse lieferung geliefert paket versand bestellung livraison livré "
        "colis commande expédition envío entrega paquete pedido llegado"
    ),
    "account login access password profile security": (
        "account login log sign signin password reset email username locked profile verification verify code "
        "authentication access delete settings anmelden passwort konto gesperrt kennwort compte connexion "
        "connecter mot passe cuenta contraseña acceso sesión"
    ),
    "feature request suggestion idea improvement": (
        "feature request suggest suggestion wish would like add support option please idea improve improvement "
        "could wünsche vorschlag funktion suggestion ajouter sugerencia añadir"
    ),
    "cancel cancellation churn unsubscribe": (
        "cancel cancellation unsubscribe terminate end stop subscription kündigen kündigung résilier annuler "
        "cancelar baja"
    ),
    "product quality damage": (
        "product quality broken damaged scratched defective size colour color item material qualität beschädigt "
        "qualité abîmé calidad dañado"
    ),
    "praise compliment thanks thank positive happy satisfied": (
        "thank thanks great love excellent wonderful amazing perfect good happy best awesome helpful danke toll "
        "super merci génial gracias excelente"
    ),
    "complaint negative angry unhappy dissatisfied": (
        "terrible awful bad worst hate angry disappointed unacceptable useless horrible poor annoyed furious "
        "schlecht furchtbar nul mauvais pésimo malo"
    ),
    "urgent urgency emergency critical high": (
        "urgent urgently immediately asap now emergency critical today deadline blocked down dringend sofort "
        "urgence immédiatement urgente inmediatamente"
    ),
    "spam scam fraud phishing": (
        "winner won prize lottery click free offer bitcoin crypto investment viagra inherit password bank verify "
        "congratulations limited"
    ),
    "sport sports": ("game match team player season league goal score coach win cup championship football tennis"),
    "politics government": ("government president minister election vote parliament law policy party senate congress"),
    "business economy": ("company market stock shares profit economy trade bank investor revenue sales growth"),
    "science technology tech": (
        "research scientists study computer software data physics space energy robot internet chip"
    ),
    "health medicine medical": ("doctor hospital patient disease treatment drug vaccine symptom pain medical health"),
    "travel hotel flight": ("hotel flight trip airport booking travel room vacation ticket passport"),
    "food restaurant": ("food restaurant meal dish taste menu eat cook kitchen delicious"),
    "question inquiry information how": ("how what when where which can could question wondering information know ask"),
    "math mathematics statistics": (
        "equation matrix integral probability mean variance distribution polynomial linear"
    ),
}

#: Names of labels that mean "nothing else fits".
OTHERS = _bag(
    "other others none misc miscellaneous unknown general else neither neutral unclear sonstiges autre autres "
    "otro otros"
)

#: Without accents, as :func:`cfai_nb.emulator.words.bare` leaves words.
POSITIVE = _bag(
    "good great excellent amazing wonderful love loved loves like liked best perfect happy nice awesome fantastic "
    "brilliant superb delightful enjoy enjoyed enjoyable helpful thanks thank pleased glad beautiful impressive "
    "recommend easy fun favorite favourite outstanding satisfied fast friendly solid charming remarkable win wins "
    "works gut super toll danke schon bon bien merci genial excelente bueno gracias"
)
NEGATIVE = _bag(
    "bad terrible awful horrible worst hate hated hates poor broken disappointing disappointed disappointment sad "
    "angry useless slow boring annoying annoyed fail fails failed failure crash crashes error ugly waste wrong "
    "problem problems unhappy rude dirty unacceptable frustrating frustrated mess dull ridiculous never lost late "
    "damaged charged refund schlecht furchtbar kaputt mauvais nul horrible malo pesimo"
)
NEGATIONS = _bag("not no never isn’t wasn’t isn't wasn't don't doesn't didn't can't won't nicht kein pas ne sin")

#: Words too common to tell texts apart.
STOP = _bag(
    "a an and are as at be but by for from has have he i in is it its me my of on or our she so that the their "
    "them they this to us was we were will with you your not do does did if then than there been being into about "
    "which who whom der die das und ist ein eine nicht ich sie wir mit auf für den dem zu le la les de des et est "
    "un une je vous nous pas pour que qui el los las y es una en por para con no se al del lo su"
)

#: Hazard categories of the guard model, with words that stand for them.
HAZARDS: Mapping[str, str] = {
    "S1": "kill murder bomb shoot stab massacre attack weapon explosive",
    "S2": "steal robbery fraud launder counterfeit smuggle hack malware ransomware drugs cocaine heroin",
    "S9": "nerve sarin anthrax nuclear chemical biological",
    "S10": "hate slur inferior exterminate",
    "S11": "suicide self-harm overdose",
}
